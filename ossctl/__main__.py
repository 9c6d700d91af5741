from ossctl.cli.main import main

main()

"""`make test-devices`: whether ossctl is right and fast on the devices of this machine.

    python -m tools.devices [--device NAME] [--model nano,tiny,20b,120b,FILE] [--batch 1,8,32,64,256]
                            [--quick] [--budget SECONDS] [--filled] [--rpc [N|ADDRESS,…]] [--check NAME,…]

Plans against what llama.cpp and the driver say, logits against the CPU's, speed, batches against
llama-server, and the doctor's verdict: a table on stdout, and `device-report.json`. Every check runs in a
process of its own, for a driver may end it. docs/devices.md has the rest.
"""

"""The command line: parse options, call one function of `app`, print the result."""

"""The planner: pure functions from machine, model and workload to a plan. No device is accessed."""

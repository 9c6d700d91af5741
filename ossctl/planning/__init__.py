"""What goes where: (machine, model, workload) to a plan, by pure functions. Nothing here touches a device."""

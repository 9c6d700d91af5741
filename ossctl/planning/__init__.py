"""What goes where: (machine, model, goal) to a plan, by pure functions. Nothing here touches a device."""

"""What nano can be asked, a module a family of kinds."""

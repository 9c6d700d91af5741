"""Lines and bodies as other programs write them."""

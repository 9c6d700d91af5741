"""`ossctl batch --cluster`: an actor of Ray on every node of a cluster answers lines."""

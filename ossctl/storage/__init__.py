"""Files on disk: the journal of a batch, compression, locks and the session database."""

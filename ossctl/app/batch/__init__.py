"""The batch job: `source` reads, `job` has the lines answered, `records` and `output` write."""

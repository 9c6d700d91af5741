"""The dialect of gpt-oss: Harmony, the format that these models were trained on and know no other."""

"""Everything that pages: recording rules, one folder per alert, and the programs that build and test them."""

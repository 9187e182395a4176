"""Static networks of any size. `config` needs no torch; the modules do."""

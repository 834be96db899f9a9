"""The commands, a file a group: parse, call, print. `scaling.cli` names them."""

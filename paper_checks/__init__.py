"""The claims of the paper as executable checks, the runner, the report and the command `loraml`."""

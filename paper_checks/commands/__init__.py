"""The commands of `loraml`, one file each."""

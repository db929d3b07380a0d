"""Atlas of the landscape: where descent from random starts ends."""

"""Version 1 of the protocol, generated. The words are in the .proto files and in protos/README.md."""

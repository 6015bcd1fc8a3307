"""Version 1 of the protocol: generated messages and services. The words are in the .proto files and protos/README.md."""

"""The way of a message: gateways, hub, stores, fusion. Read broker/README.md first."""

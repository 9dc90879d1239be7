"""The processes of the local stack: the AWS endpoint and its guard, the gateway, and the message processor."""

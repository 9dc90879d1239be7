"""What every package stands on, and nothing of OCPP or AWS: time, waiting, cards, addresses, this process."""

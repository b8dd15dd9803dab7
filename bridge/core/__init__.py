"""What every other package stands on: model, errors, ports, units, clock, filters, and files of keys and locks."""

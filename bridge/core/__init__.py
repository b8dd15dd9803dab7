"""Hold what every other package uses: model, errors, ports, units, clock, filters, and files of keys and locks."""

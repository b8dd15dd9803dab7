"""One package for each protocol. Client libraries of protocols are imported here and nowhere else."""

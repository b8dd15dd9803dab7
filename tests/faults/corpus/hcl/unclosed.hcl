bridge {
  name = "${
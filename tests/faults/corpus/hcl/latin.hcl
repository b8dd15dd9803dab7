bridge {
  name = "ÿ"
}

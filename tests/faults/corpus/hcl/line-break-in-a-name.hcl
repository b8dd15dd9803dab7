route "r" {
  on          = "a"
  integration = "no
[31mbody"
  operation   = "request"
}

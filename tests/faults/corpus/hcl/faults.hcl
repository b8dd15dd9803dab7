bridge "x" {
}
variable "a" {
  default = env.MISSING
}
variable "a" {
  default = 2
}
integration {
  type = "json-rpc"
}
integration "b" {
  type = "jsonrpc"
  type = "mqtt"
  auth {
    type  = "bearer"
    token = env.TOKEN
    token = "${env.TOKEN}x"
  }
}
route "r" {
  on          = ["**.."]
  integration = "c"
  where       = event.nothing
  operation   = "request"
  params      = { a = message.topic, a = 1 }
}
data = 5

integration "a" {
  type = "json-rpc"
  endpoint {
    url = "http://a/"
  }
}

integration "shed" {
  type = "lines"
  endpoint {
    url = "lines://localhost:7070"
  }
  config {
    idempotent = ["echo"]
  }
}

subscription "weather" {
  integration = "shed"
  topic       = "weather"
  emit        = "data.weather"
}

# A directory: files that other programs put into it become events, and events become files.
integration "exchange" {
  type = "file"

  config {
    root     = "exchange"         # nothing outside of it is read or written; links are not followed
    interval = "500ms"            # how often it looks for changes
  }
}

integration "journal" {
  type = "file"

  config {
    root   = "journal"
    append = true                 # publish appends a line instead of replacing the file
  }
}

subscription "arrivals" {
  integration = "exchange"
  topic       = "inbox/*.json"    # a glob: files that are created, changed or deleted
  emit        = "exchange.arrived"
}

subscription "log_lines" {
  integration = "exchange"
  topic       = "tail:logs/*.log" # lines that are appended
  emit        = "exchange.line"
}

route "journal" {
  on          = ["order.**"]
  integration = "journal"
  operation   = "publish"
  topic       = "orders.jsonl"
  message     = event.payload
}

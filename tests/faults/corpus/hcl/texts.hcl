/* a comment */ # another
// a third
bridge {
  name = <<-EOT
    bridge/${env.N}
  EOT
}
integration "t" {
  type = "timer"
  config {
    schedule "a" {
      every = "1${env.N}s"
    }
  }
}
subscription "s" {
  integration = "t"
  topic       = "a"
  emit        = "tick.${message.topic}"
}

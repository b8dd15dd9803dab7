# MQTT: jobs that the application acknowledges when it has done them, not when it has received them.
variable "plant_password" {
  env     = "PLANT_PASSWORD"
  default = "not-set"
}

integration "plant" {
  type = "mqtt"

  endpoint {
    address = "mqtt.example.com"
  }

  auth {
    type     = "basic"
    username = "nemo"
    password = var.plant_password
  }

  config {
    client_id   = "nemo-plant"
    clean_start = false             # the broker keeps unacknowledged messages while the sidecar is away
  }
}

# The payload of job.come is {topic, message, headers, message_id, attempts}. The application answers with
# integration.plant.ack {message_id}, or returns the message with integration.plant.nack {message_id, delay_ms}.
subscription "plant_jobs" {
  integration    = "plant"
  topic          = "jobs/+"
  qos            = 2
  emit           = "job.come"
  ack            = "consumer"
  prefetch       = 10               # at most this many unacknowledged messages at a time
  visibility     = "30s"            # unacknowledged for this long: delivered again, `attempts` one higher
  max_deliveries = 5                # then the bridge gives the message up: resilience.plant.given_up
}

# nemo-bridge test examples/acknowledge.hcl
test "a job that is not acknowledged comes again" {
  step {
    message = "plant_jobs"
    topic   = "jobs/drill"
    payload = { id = 7 }
  }

  expect {
    event   = "job.come"
    payload = { topic = "jobs/drill", message = { id = 7 }, attempts = 1 }
    by      = "1s"
    times   = 1
  }
  expect {
    event   = "job.come"
    by      = "5m"
    payload = { attempts = 5 }
    times   = 1
  }
  expect {
    event = "resilience.plant.given_up"
    by    = "5m"
    times = 1
  }
}

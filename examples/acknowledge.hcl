# MQTT: jobs that are acknowledged when the application has done them, not when it has heard of them.
integration "plant" {
  type = "mqtt"

  endpoint {
    address = "mqtt.example.com"
  }

  auth {
    type     = "basic"
    username = "${env.MQTT_USER}"
    password = "${env.MQTT_PASS}"
  }

  config {
    client_id   = "nemo-plant"
    clean_start = false             # the broker keeps what is unanswered while the sidecar is away
  }
}

# job.come brings {topic, message, headers, message_id, attempts}. The application answers with
# integration.plant.ack {message_id}, or gives it back with integration.plant.nack {message_id, delay_ms}.
subscription "jobs" {
  integration    = "plant"
  topic          = "jobs/+"
  qos            = 2
  emit           = "job.come"
  ack            = "consumer"
  prefetch       = 10               # so many may be unanswered at the same time
  visibility     = "30s"            # what is unanswered for so long comes again, one attempt higher
  max_deliveries = 5                # then it is given up: resilience.plant.given_up
}

# The jobs of a real Sidekiq process in the tests. Each run is a line in the file of the environment variable RUNS.
require "sidekiq"

Sidekiq.configure_server do |config|
  config.redis = { path: ENV.fetch("REDIS_SOCKET") }
  config.average_scheduled_poll_interval = 1
end

class Suite
  include Sidekiq::Worker

  def perform(name)
    File.open(ENV.fetch("RUNS"), "a") { |file| file.write("ruby #{name}\n") }
  end
end

class Fails
  include Sidekiq::Worker

  def perform(*)
    raise "it fails"
  end
end

# The null job of the benchmarks for a Ruby Sidekiq process.
require "sidekiq"

Sidekiq.configure_server { |config| config.redis = { path: ENV.fetch("REDIS_SOCKET") } }

class NullJob
  include Sidekiq::Worker

  def perform(_); end
end

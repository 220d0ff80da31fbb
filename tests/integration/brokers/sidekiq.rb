# What the real Sidekiq sees and does in the tests: `ruby sidekiq.rb SOCKET [NAMESPACE]`.
#
# Reads one JSON array a line, [COMMAND, ARGUMENT...], and answers with one JSON value a line.
require "json"
require "sidekiq/api"

# Of the gem "redis", which Sidekiq 6 uses; later ones use "redis-client".
Redis.sadd_returns_boolean = false if defined?(Redis) && Redis.respond_to?(:sadd_returns_boolean=)
socket = ARGV.fetch(0)
Sidekiq.configure_client do |config|
  config.logger = Logger.new($stderr, level: Logger::WARN) # standard output is for the answers
  config.redis = { path: socket }
end

# What is known of a job that runs; Sidekiq 6 has it as a Hash.
def facts(work)
  return work.values_at("queue", "payload", "run_at") if work.is_a?(Hash)

  [work.queue, work.job.item, work.run_at.to_i]
end

COMMANDS = {
  "push" => ->(item) { Sidekiq::Client.push(item) },
  "queues" => -> { Sidekiq::Queue.all.map { |queue| [queue.name, queue.size] }.to_h },
  "jobs" => ->(queue) { Sidekiq::Queue.new(queue).map(&:item) },
  "retries" => -> { Sidekiq::RetrySet.new.map { |entry| entry.item.merge("at" => entry.at.to_f, "queue_name" => entry.queue) } },
  "scheduled" => -> { Sidekiq::ScheduledSet.new.map { |entry| entry.item.merge("at" => entry.at.to_f) } },
  "dead" => -> { Sidekiq::DeadSet.new.map { |entry| [entry.jid, entry.value, entry.queue] } },
  "version" => -> { Sidekiq::VERSION },
  # What "Retry" in the Web UI does, for all that is in both sets. It takes what it cannot push out of the set, and raises.
  "retry_all" => lambda {
    [Sidekiq::DeadSet, Sidekiq::RetrySet].flat_map { |set| set.new.to_a }.map do |entry|
      entry.retry && nil
    rescue StandardError => error
      error.class.name
    end.compact
  },
  # The status of a page of the Web UI, or what it raises.
  "page" => lambda { |path|
    require "sidekiq/web"
    require "rack/mock"
    begin
      Rack::MockRequest.new(Sidekiq::Web).get(path, "rack.session" => {}).status
    rescue StandardError => error
      error.class.name
    end
  },
  "retry_dead" => ->(jid) { Sidekiq::DeadSet.new.find_job(jid).retry },
  "processes" => lambda {
    Sidekiq::ProcessSet.new.map do |process|
      { identity: process.identity, tag: process.tag, queues: process.queues, labels: process.labels,
        busy: process["busy"], concurrency: process["concurrency"], quiet: process["quiet"], rss: process["rss"],
        hostname: process["hostname"], pid: process["pid"], started_at: process["started_at"], beat: process["beat"] }
    end
  },
  "workers" => lambda {
    Sidekiq::Workers.new.map { |process, thread, work| [process, thread, *facts(work)] }
  },
  "quiet" => -> { Sidekiq::ProcessSet.new.each(&:quiet!); nil },
  "stop" => -> { Sidekiq::ProcessSet.new.each(&:stop!); nil },
  "stats" => lambda {
    stats = Sidekiq::Stats.new
    { processed: stats.processed, failed: stats.failed, enqueued: stats.enqueued, processes: stats.processes_size,
      workers: stats.workers_size, history: Sidekiq::Stats::History.new(1).processed.values.first }
  },
}.freeze

$stdout.sync = true
puts "ready"
$stdin.each_line do |line|
  command, *arguments = JSON.parse(line)
  puts JSON.generate([COMMANDS.fetch(command).call(*arguments)])
end

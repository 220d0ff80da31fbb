<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * Queues in Redis, in Sidekiq's format: a list for what can run, the sorted set "schedule" for what has a delay. All jobs
 * of one call in one MULTI, and in one round trip.
 *
 * @internal
 */
final class RedisBackend implements ReplaceableBackendInterface
{
    /** fervo-worker gives the only argument of a job of this class to PHP as the payload. */
    private const JOB_CLASS = 'DeferEvent';

    private ?RedisConnectionInterface $connection = null;

    /** @param string $client "phpredis", "predis" or "auto" */
    public function __construct(
        #[\SensitiveParameter] private readonly string $dsn,
        private readonly string $keyPrefix,
        private readonly string $client,
        private readonly int $timeoutMs,
        private readonly ?string $caFile = null,
    ) {
    }

    public function send(DeferredJob ...$jobs): void
    {
        $server = 'Redis';
        try {
            $dsn = Dsn::parse($this->dsn, ['redis', 'rediss'], 6379);
            $server = 'Redis at '.$dsn;
            $this->connection ??= $this->connect($dsn);
            $this->connection->transaction($this->commands($jobs));
        } catch (\RedisException|\Predis\PredisException|\RuntimeException $error) {
            $this->connection = null;
            throw new SendFailedException(sprintf('Cannot put the deferred event into the queue, %s: %s', $server, $error->getMessage()), array_values($jobs), $error);
        }
    }

    public function message(DeferredJob $job): string
    {
        return $this->encode($job, isScheduled: $job->delayMs() > 0);
    }

    /**
     * @param DeferredJob[] $jobs
     *
     * @return list<list<string>>
     */
    private function commands(array $jobs): array
    {
        $queues = $lists = $schedule = [];
        foreach ($jobs as $job) {
            if ($job->delayMs() > 0) {
                // Whoever takes it off the schedule puts it into its queue, and writes enqueued_at.
                array_push($schedule, sprintf('%.3F', $job->notBeforeMs / 1000), $this->encode($job, isScheduled: true));
            } else {
                // Sidekiq's Web UI lists the queues of this set.
                $queues[$job->queue] = $job->queue;
                $lists[$job->queue][] = $this->encode($job, isScheduled: false);
            }
        }

        $commands = [];
        if ([] !== $queues) {
            $commands[] = ['SADD', $this->keyPrefix.'queues', ...array_values($queues)];
        }
        foreach ($lists as $queue => $encoded) {
            $commands[] = ['LPUSH', $this->keyPrefix.'queue:'.$queue, ...$encoded];
        }
        if ([] !== $schedule) {
            $commands[] = ['ZADD', $this->keyPrefix.'schedule', ...$schedule];
        }

        return $commands;
    }

    private function encode(DeferredJob $job, bool $isScheduled): string
    {
        $nowSeconds = round(microtime(true), 3);

        return json_encode([
            'class' => self::JOB_CLASS,
            'args' => [$job->payload],
            // Sidekiq counts the attempts after the first one; true = its default of 25.
            'retry' => null === $job->attempts ? true : $job->attempts - 1,
            'queue' => $job->queue,
            'jid' => bin2hex(random_bytes(12)),
            'created_at' => $nowSeconds,
        ] + ($isScheduled ? [] : ['enqueued_at' => $nowSeconds]), \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE
            // Without a fraction, Sidekiq 8 would read it as milliseconds.
            | \JSON_PRESERVE_ZERO_FRACTION);
    }

    private function connect(Dsn $dsn): RedisConnectionInterface
    {
        if ('predis' !== $this->client && \extension_loaded('redis')) {
            return new PhpRedisConnection($dsn, $this->timeoutMs, $this->caFile);
        }
        if ('phpredis' !== $this->client && class_exists(\Predis\Client::class)) {
            return new PredisConnection($dsn, $this->timeoutMs, $this->caFile);
        }
        $reason = match ($this->client) {
            'phpredis' => 'the extension "redis" is not loaded',
            'predis' => 'Predis is not there: run "composer require predis/predis"',
            default => 'there is neither the extension "redis" nor Predis: install one of them',
        };

        throw new \RuntimeException($reason);
    }
}

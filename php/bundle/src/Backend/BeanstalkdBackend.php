<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * Tubes of beanstalkd. Each message is fervo-worker's envelope, so the worker's broker needs `format = "envelope"`.
 *
 * @internal
 */
final class BeanstalkdBackend implements ReplaceableBackendInterface
{
    /** beanstalkd runs the lowest first; this is where the worker and PHP's clients put what has no priority. */
    private const NORMAL_PRIORITY = 1024;

    private ?BeanstalkdConnection $connection = null;

    public function __construct(
        private readonly string $dsn,
        private readonly int $ttrMs,
        private readonly int $timeoutMs,
    ) {
    }

    public function send(DeferredJob ...$jobs): void
    {
        $server = 'beanstalkd';
        $unsent = $jobs;
        $refusals = [];
        try {
            $dsn = Dsn::parse($this->dsn, ['beanstalkd'], 11300);
            $server = 'beanstalkd at '.$dsn;
            $this->connection ??= new BeanstalkdConnection($dsn->socket(), $this->timeoutMs);
            foreach ($jobs as $i => $job) {
                $refusal = $this->connection->put($job->queue, $this->encode($job), [
                    'priority' => min(max(self::NORMAL_PRIORITY - $job->priority, 0), 0xFFFFFFFF),
                    'delay' => (int) ceil($job->delayMs() / 1000),
                    'ttr' => (int) ceil($this->ttrMs / 1000),
                ]);
                // The server may refuse one and take the next.
                if (null === $refusal) {
                    unset($unsent[$i]);
                } else {
                    $refusals[] = $refusal;
                }
            }
        } catch (\RuntimeException $error) {
            $this->connection = null;
            throw self::failure($server, $error->getMessage(), $unsent, $error);
        }
        if ([] !== $refusals) {
            $areOfJobs = [] === array_filter($refusals, static fn (BeanstalkdRefusal $refusal): bool => !$refusal->isOfJob);
            throw self::failure($server, $refusals[0]->reason, $unsent, isRefusal: $areOfJobs);
        }
    }

    public function message(DeferredJob $job): string
    {
        return $this->encode($job);
    }

    /** @param DeferredJob[] $unsent */
    private static function failure(string $server, string $reason, array $unsent, ?\Throwable $previous = null, bool $isRefusal = false): SendFailedException
    {
        return new SendFailedException(sprintf('Cannot put the deferred event into the queue, %s: %s', $server, $reason), array_values($unsent), $previous, $isRefusal);
    }

    private function encode(DeferredJob $job): string
    {
        return json_encode([
            'fervo' => 1,
            'payload' => $job->payload,
            'id' => bin2hex(random_bytes(12)),
            'enqueued_at' => (int) (microtime(true) * 1000),
        ] + (null === $job->attempts ? [] : ['attempts' => $job->attempts]), \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE);
    }
}

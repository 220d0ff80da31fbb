<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

use Fervo\DeferredEventBundle\Exception\InvalidOptionException;

/**
 * How to run one deferred event. What is null is as the bundle's configuration says.
 *
 *     new DeferOptions(delay: 60, queue: 'mail')
 */
final class DeferOptions
{
    /**
     * What each queue and database can hold. One event that they refuse would keep those back that are sent together with it.
     *
     * @internal
     */
    public const MAX_INTEGER = 2_147_483_647;

    /** In milliseconds; 0 = as soon as possible; null = as configured. */
    public readonly ?int $delayMs;

    /**
     * @param int|float|\DateInterval|null $delay    run it no sooner than in so many seconds
     * @param string|null                  $queue    1 to 128 characters of A-Z a-z 0-9 . _ : -
     * @param int|null                     $priority higher runs first; Redis queues have none and ignore it
     * @param int|null                     $attempts attempts in all, the first one included
     * @param string|null                  $unique   a key of 1 to 255 characters: while another job with it waits in the queue, this one is
     *                                               not added; with the backends postgres, mysql and in-memory
     *
     * @throws InvalidOptionException
     */
    public function __construct(
        int|float|\DateInterval|null $delay = null,
        public readonly ?string $queue = null,
        public readonly ?int $priority = null,
        public readonly ?int $attempts = null,
        public readonly ?string $unique = null,
    ) {
        if (null !== $queue) {
            self::checkQueue($queue);
        }
        if (null !== $attempts && ($attempts < 1 || $attempts > self::MAX_INTEGER)) {
            throw new InvalidOptionException(sprintf('The number of attempts is %d; it counts the first attempt, so it is at least 1, and at most %d.', $attempts, self::MAX_INTEGER));
        }
        if (null !== $priority && abs($priority) > self::MAX_INTEGER) {
            throw new InvalidOptionException(sprintf('The priority is %d; it is from -%2$d to %2$d.', $priority, self::MAX_INTEGER));
        }
        if (null !== $unique && 1 !== preg_match('/^[^\x00]{1,255}$/Du', $unique)) {
            throw new InvalidOptionException('The unique key is not valid: it has 1 to 255 characters, in UTF-8, and no NUL.');
        }
        $this->delayMs = null === $delay ? null : self::milliseconds($delay);
    }

    /** What is null here is as in the others, the first that says it. */
    public function orElse(self ...$others): self
    {
        [$delayMs, $queue, $priority, $attempts, $unique] = [$this->delayMs, $this->queue, $this->priority, $this->attempts, $this->unique];
        foreach ($others as $other) {
            $delayMs ??= $other->delayMs;
            $queue ??= $other->queue;
            $priority ??= $other->priority;
            $attempts ??= $other->attempts;
            $unique ??= $other->unique;
        }

        return new self(null === $delayMs ? null : $delayMs / 1000, $queue, $priority, $attempts, $unique);
    }

    /** @throws InvalidOptionException */
    public static function checkQueue(string $queue): void
    {
        if (1 !== preg_match('/^[A-Za-z0-9._:-]{1,128}$/D', $queue)) {
            throw new InvalidOptionException(sprintf('The queue "%s" is not valid: a queue\'s name has 1 to 128 characters of A-Z a-z 0-9 . _ : -', $queue));
        }
    }

    private static function milliseconds(int|float|\DateInterval $delay): int
    {
        if ($delay instanceof \DateInterval) {
            $now = new \DateTimeImmutable('now', new \DateTimeZone('UTC'));
            $then = $now->add($delay);
            $delay = (float) $then->format('U.u') - (float) $now->format('U.u');
        }
        // The upper bound, some 31,000 years, is what the worker's queue can store.
        if (!is_finite((float) $delay) || $delay < 0 || $delay > 1e12) {
            throw new InvalidOptionException(sprintf('The delay is %s seconds; it has to be 0 or more.', $delay));
        }

        return (int) round($delay * 1000);
    }
}

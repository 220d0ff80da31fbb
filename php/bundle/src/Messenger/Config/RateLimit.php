<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * A limiter of "framework.rate_limiter" as the worker's rate_limit and rate_period_ms.
 *
 * @internal
 */
final class RateLimit
{
    /** The longest rate_period_ms. */
    private const MAX_PERIOD_MS = 86_400_000;

    /** @param string|null $note how it differs from the limiter, or why there is none */
    private function __construct(
        public readonly ?int $limit,
        public readonly ?int $periodMs,
        public readonly ?string $note,
    ) {
    }

    /** @param array<string, mixed>|null $limiter as FrameworkBundle hands it to the factory of the limiter; null when it cannot be read */
    public static function of(string $name, ?array $limiter): self
    {
        $told = \sprintf('the limiter "%s"', $name);
        $policy = (string) ($limiter['policy'] ?? '');
        if ('no_limit' === $policy) {
            return new self(null, null, $told.' has no limit');
        }
        $isBucket = 'token_bucket' === $policy;
        if (!$isBucket && 'fixed_window' !== $policy && 'sliding_window' !== $policy) {
            return new self(null, null, $told.' is not obeyed: its policy '.('' === $policy ? 'is not known here' : '"'.$policy.'" cannot be mapped').'; set rate_limit and rate_period_ms');
        }
        $interval = $isBucket ? $limiter['rate']['interval'] ?? null : $limiter['interval'] ?? null;
        $burst = $limiter['limit'] ?? null;
        $amount = $isBucket ? $limiter['rate']['amount'] ?? 1 : $burst;
        $periodMs = \is_string($interval) ? self::milliseconds($interval) : null;
        if (null === $periodMs || !is_numeric($amount) || (int) $amount < 1) {
            return new self(null, null, $told.' is not obeyed: its numbers are not known here; set rate_limit and rate_period_ms');
        }
        $amount = (int) $amount;
        // A longer period with as many jobs: a part of both.
        $parts = (int) ceil($periodMs / self::MAX_PERIOD_MS);
        if ($parts > 1) {
            $amount = max(1, intdiv($amount, $parts));
            $periodMs = self::MAX_PERIOD_MS;
        }
        $notes = [$told.', spread evenly over its time', 'the limit is of this process: with several workers, each has its share'];
        if ($isBucket && is_numeric($burst) && (int) $burst > $amount) {
            $notes[] = \sprintf('its burst of %d is not: after a quiet time at most %d start at once', (int) $burst, $amount);
        }

        return new self($amount, $periodMs, implode('; ', $notes));
    }

    /** @return int|null at least 1; null when it is not an interval */
    private static function milliseconds(string $interval): ?int
    {
        $start = new \DateTimeImmutable('@0');
        try {
            $end = @$start->modify('+'.ltrim($interval, '+ '));
        } catch (\Throwable) {
            return null;
        }

        return false === $end || $end <= $start ? null : (int) round(1000 * ((float) $end->format('U.u') - (float) $start->format('U.u')));
    }
}

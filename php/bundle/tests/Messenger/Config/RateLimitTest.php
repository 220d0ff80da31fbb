<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger\Config;

use Fervo\DeferredEventBundle\Messenger\Config\RateLimit;
use PHPUnit\Framework\TestCase;

final class RateLimitTest extends TestCase
{
    /**
     * @dataProvider limiters
     *
     * @param array<string, mixed>|null $limiter
     */
    public function testALimiterIsMapped(?array $limiter, ?int $limit, ?int $periodMs, string $note): void
    {
        $mapped = RateLimit::of('api', $limiter);

        self::assertSame([$limit, $periodMs], [$mapped->limit, $mapped->periodMs]);
        self::assertStringContainsString($note, (string) $mapped->note);
    }

    /** @return iterable<string, array{array<string, mixed>|null, int|null, int|null, string}> */
    public static function limiters(): iterable
    {
        yield 'fixed window' => [['policy' => 'fixed_window', 'limit' => 30, 'interval' => '1 minute'], 30, 60_000, 'spread evenly'];
        yield 'sliding window' => [['policy' => 'sliding_window', 'limit' => 5, 'interval' => '500 milliseconds'], 5, 500, 'spread evenly'];
        yield 'longer than a day' => [['policy' => 'fixed_window', 'limit' => 700, 'interval' => '1 week'], 100, 86_400_000, 'spread evenly'];
        yield 'token bucket' => [['policy' => 'token_bucket', 'limit' => 50, 'rate' => ['interval' => '2 seconds', 'amount' => 10]], 10, 2_000, 'its burst of 50 is not: after a quiet time at most 10 start at once'];
        yield 'no limit' => [['policy' => 'no_limit'], null, null, 'has no limit'];
        yield 'compound' => [['policy' => 'compound'], null, null, 'its policy "compound" cannot be mapped'];
        yield 'a service' => [null, null, null, 'its policy is not known here'];
        yield 'by a variable' => [['policy' => 'fixed_window', 'limit' => '%env(int:LIMIT)%', 'interval' => '1 minute'], null, null, 'its numbers are not known here'];
        yield 'no interval' => [['policy' => 'fixed_window', 'limit' => 5, 'interval' => 'soon'], null, null, 'its numbers are not known here'];
    }
}

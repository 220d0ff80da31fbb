<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Exception\RetryAfterExceptionInterface;
use Fervo\DeferredEventBundle\Exception\UnrecoverableExceptionInterface;
use Fervo\Runner\Outcome;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\Exception\RecoverableExceptionInterface as MessengerRecoverable;
use Symfony\Component\Messenger\Exception\UnrecoverableExceptionInterface as MessengerUnrecoverable;
use Symfony\Component\Messenger\Exception\WrappedExceptionsInterface;

/**
 * Which outcome an error is: by what the exceptions of this bundle and of Messenger say of further attempts.
 *
 * @internal
 */
final class Judge
{
    /** By Messenger, which has judged the error, and knows no further attempt. */
    public static function rejected(\Throwable $error): Outcome
    {
        $causes = self::causes($error);
        $cause = 1 === \count($causes) ? $causes[0] : $error;

        return Outcome::bury($cause);
    }

    /** By its exceptions: a retry, unless all of them say that none can help. */
    public static function failed(\Throwable $error): Outcome
    {
        $causes = self::causes($error);
        if ([] === array_filter($causes, static fn (\Throwable $cause): bool => !self::isUnrecoverable($cause))) {
            return Outcome::bury($error);
        }
        $delays = array_filter(array_map(self::delayOf(...), $causes), static fn (?int $delayMs): bool => null !== $delayMs);

        return Outcome::retry($error, [] === $delays ? null : min($delays));
    }

    /**
     * What was thrown by the handlers themselves: Messenger wraps that, also several of them, when a listener dispatches to a
     * bus. As with Messenger, one that may be tried again outweighs those that may not.
     *
     * @return non-empty-list<\Throwable>
     */
    public static function causes(\Throwable $error): array
    {
        $wrapped = match (true) {
            $error instanceof WrappedExceptionsInterface => $error->getWrappedExceptions(),
            // Symfony 5.4.
            $error instanceof HandlerFailedException => $error->getNestedExceptions(),
            default => [],
        };

        return [] === $wrapped ? [$error] : array_merge(...array_map(self::causes(...), array_values($wrapped)));
    }

    private static function isUnrecoverable(\Throwable $error): bool
    {
        return $error instanceof UnrecoverableExceptionInterface || $error instanceof MessengerUnrecoverable;
    }

    private static function delayOf(\Throwable $error): ?int
    {
        $hasDelay = $error instanceof RetryAfterExceptionInterface
            || ($error instanceof MessengerRecoverable && method_exists($error, 'getRetryDelay'));
        $delayMs = $hasDelay ? $error->getRetryDelay() : null;

        return null === $delayMs ? null : (int) $delayMs;
    }
}

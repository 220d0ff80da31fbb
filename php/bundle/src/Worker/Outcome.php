<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Exception\RetryAfterExceptionInterface;
use Fervo\DeferredEventBundle\Exception\UnrecoverableExceptionInterface;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\Exception\RecoverableExceptionInterface as MessengerRecoverable;
use Symfony\Component\Messenger\Exception\UnrecoverableExceptionInterface as MessengerUnrecoverable;
use Symfony\Component\Messenger\Exception\WrappedExceptionsInterface;

/**
 * What became of a job, in the words of fervo-worker.
 *
 * @internal
 */
final class Outcome
{
    public const ACK = 'ack';
    public const RETRY = 'retry';
    public const BURY = 'bury';

    private const MAX_ERROR_BYTES = 1000;

    /**
     * @param self::ACK|self::RETRY|self::BURY $kind
     * @param string|null                      $error   one line; null with "ack"
     * @param int|null                         $delayMs how long to wait before the next try; null = as the worker's configuration says
     */
    private function __construct(
        public readonly string $kind,
        public readonly ?string $error = null,
        public readonly ?int $delayMs = null,
    ) {
    }

    public static function ack(): self
    {
        return new self(self::ACK);
    }

    /** By Messenger, which has judged the error, and knows no further try. */
    public static function rejected(\Throwable $error): self
    {
        $causes = self::causes($error);
        $cause = 1 === \count($causes) ? $causes[0] : $error;

        return new self(self::BURY, self::oneLine($cause::class.': '.$cause->getMessage()));
    }

    public static function failed(\Throwable $error): self
    {
        $text = self::oneLine($error::class.': '.$error->getMessage());
        $causes = self::causes($error);
        if ([] === array_filter($causes, static fn (\Throwable $cause): bool => !self::isUnrecoverable($cause))) {
            return new self(self::BURY, $text);
        }
        $delays = array_filter(array_map(self::delayOf(...), $causes), static fn (?int $delayMs): bool => null !== $delayMs);

        return new self(self::RETRY, $text, [] === $delays ? null : max(0, min($delays)));
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

    /** For the body of an answer: 0x1E, one line of JSON, a newline. */
    public function toRecord(string $jobId): string
    {
        $record = ['id' => $jobId, 'outcome' => $this->kind, 'error' => $this->error, 'delay_ms' => $this->delayMs, 'pid' => null === $this->error ? null : getmypid()];

        return "\x1e".json_encode(array_filter($record, static fn (mixed $value): bool => null !== $value), \JSON_UNESCAPED_SLASHES | \JSON_INVALID_UTF8_SUBSTITUTE)."\n";
    }

    /** An anonymous class has a NUL byte and its file in its name; a header has no control characters. */
    private static function oneLine(string $text): string
    {
        $text = trim((string) preg_replace('/[\x00-\x1f\x7f]+/', ' ', $text));
        if (\strlen($text) > self::MAX_ERROR_BYTES) {
            // Not in the middle of a character.
            $text = (string) preg_replace('/[\xc0-\xff][\x80-\xbf]{0,3}$/D', '', substr($text, 0, self::MAX_ERROR_BYTES)).'…';
        }

        return $text;
    }
}

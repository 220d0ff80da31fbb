<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Worker;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\RetryAfterException;
use Fervo\DeferredEventBundle\Exception\UnrecoverableException;
use Fervo\DeferredEventBundle\Worker\Outcome;
use PHPUnit\Framework\TestCase;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\Exception\RecoverableMessageHandlingException;
use Symfony\Component\Messenger\Exception\UnrecoverableMessageHandlingException;

final class OutcomeTest extends TestCase
{
    public function testAnyErrorIsTriedAgain(): void
    {
        $outcome = Outcome::failed(new \TypeError('wrong'));

        self::assertSame(['retry', 'TypeError: wrong', null], [$outcome->kind, $outcome->error, $outcome->delayMs]);
    }

    public function testUnrecoverableIsBuried(): void
    {
        self::assertSame('bury', Outcome::failed(new UnrecoverableException())->kind);
        self::assertSame('bury', Outcome::failed(new InvalidSignatureException())->kind);
        self::assertSame('bury', Outcome::failed(new UnrecoverableMessageHandlingException())->kind);
    }

    public function testTheDelayOfTheException(): void
    {
        self::assertSame(1500, Outcome::failed(new RetryAfterException(1.5))->delayMs);
        self::assertSame(0, Outcome::failed(new RetryAfterException(-1))->delayMs);
        self::assertSame('retry', Outcome::failed(new RecoverableMessageHandlingException())->kind);
        self::assertNull(Outcome::failed(new RecoverableMessageHandlingException())->delayMs);
    }

    /** As a listener has them that dispatches to a bus. */
    public function testWhatMessengerWrapsIsLookedAt(): void
    {
        $never = new UnrecoverableMessageHandlingException('never again');
        $wrap = static fn (\Throwable ...$errors): HandlerFailedException => new HandlerFailedException(new Envelope(new \stdClass()), $errors);

        self::assertSame('bury', Outcome::failed($wrap($never))->kind);
        self::assertSame('bury', Outcome::failed($wrap($wrap($never), new UnrecoverableException()))->kind);
        self::assertSame('retry', Outcome::failed($wrap($never, new \RuntimeException()))->kind);
        self::assertSame('retry', Outcome::failed($wrap($never, new RecoverableMessageHandlingException()))->kind);
        self::assertSame(2000, Outcome::failed($wrap(new RetryAfterException(5), $wrap(new RetryAfterException(2), new \RuntimeException())))->delayMs);
    }

    public function testTheErrorIsOneShortLineInUtf8(): void
    {
        $error = Outcome::failed(new \Exception("a\r\nX-Fervo-Outcome: ack\0\t".str_repeat('ö', 1000)))->error;

        self::assertSame(1, preg_match('/^[^\x00-\x1f\x7f]+$/Du', $error));
        self::assertLessThanOrEqual(1003, \strlen($error));
        self::assertStringStartsWith('Exception: a X-Fervo-Outcome: ack ö', $error);
    }
}

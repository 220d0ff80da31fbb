<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Worker;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\RetryAfterException;
use Fervo\DeferredEventBundle\Exception\UnrecoverableException;
use Fervo\DeferredEventBundle\Worker\Judge;
use PHPUnit\Framework\TestCase;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\Exception\RecoverableMessageHandlingException;
use Symfony\Component\Messenger\Exception\UnrecoverableMessageHandlingException;

final class JudgeTest extends TestCase
{
    public function testAnyErrorIsTriedAgain(): void
    {
        $outcome = Judge::failed(new \TypeError('wrong'));

        self::assertSame(['retry', 'TypeError: wrong', null], [$outcome->kind, $outcome->error, $outcome->delayMs]);
    }

    public function testUnrecoverableIsBuried(): void
    {
        self::assertSame('bury', Judge::failed(new UnrecoverableException())->kind);
        self::assertSame('bury', Judge::failed(new InvalidSignatureException())->kind);
        self::assertSame('bury', Judge::failed(new UnrecoverableMessageHandlingException())->kind);
    }

    public function testTheDelayOfTheException(): void
    {
        self::assertSame(1500, Judge::failed(new RetryAfterException(1.5))->delayMs);
        self::assertSame(0, Judge::failed(new RetryAfterException(-1))->delayMs);
        self::assertSame('retry', Judge::failed(new RecoverableMessageHandlingException())->kind);
        self::assertNull(Judge::failed(new RecoverableMessageHandlingException())->delayMs);
    }

    /** As a listener has them that dispatches to a bus. */
    public function testWhatMessengerWrapsIsLookedAt(): void
    {
        $never = new UnrecoverableMessageHandlingException('never again');
        $wrap = static fn (\Throwable ...$errors): HandlerFailedException => new HandlerFailedException(new Envelope(new \stdClass()), $errors);

        self::assertSame('bury', Judge::failed($wrap($never))->kind);
        self::assertSame('bury', Judge::failed($wrap($wrap($never), new UnrecoverableException()))->kind);
        self::assertSame('retry', Judge::failed($wrap($never, new \RuntimeException()))->kind);
        self::assertSame('retry', Judge::failed($wrap($never, new RecoverableMessageHandlingException()))->kind);
        self::assertSame(2000, Judge::failed($wrap(new RetryAfterException(5), $wrap(new RetryAfterException(2), new \RuntimeException())))->delayMs);
    }
}

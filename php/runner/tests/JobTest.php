<?php

declare(strict_types=1);

namespace Fervo\Runner\Tests;

use Fervo\Runner\Job;
use PHPUnit\Framework\TestCase;

final class JobTest extends TestCase
{
    public function testFromTheParamsOfARequest(): void
    {
        $params = [
            'FERVO_JOB_ID' => '7', 'FERVO_QUEUE' => 'mail', 'FERVO_ATTEMPT' => '2', 'FERVO_MAX_ATTEMPTS' => '5', 'FERVO_REPEAT' => '1',
            'FERVO_ENQUEUED_AT' => '1700000000000', 'HTTP_TRACEPARENT' => '00-a-b-01', 'HTTP_TRACESTATE' => 'a=b',
        ];

        self::assertEquals(new Job('7', 'mail', "\0hi", 2, 5, true, 1700000000000, '00-a-b-01', 'a=b'), Job::fromParams($params, "\0hi"));
    }

    public function testFromTheEnvironmentOfAProcess(): void
    {
        $job = Job::fromParams(['FERVO_JOB_ID' => '7', 'TRACEPARENT' => '00-a-b-01', 'TRACESTATE' => 'a=b'], '');

        self::assertSame(['7', '00-a-b-01', 'a=b'], [$job->id, $job->traceparent, $job->tracestate]);
    }

    public function testWhatIsNotTold(): void
    {
        self::assertEquals(new Job('', '', ''), Job::fromParams([], ''));
    }

    public function testTheLastAttempt(): void
    {
        self::assertFalse((new Job('7', 'mail', '', 4, 5))->isLastAttempt());
        self::assertTrue((new Job('7', 'mail', '', 5, 5))->isLastAttempt());
        self::assertFalse((new Job('7', 'mail', '', 9, 0))->isLastAttempt(), 'unknown');
    }
}

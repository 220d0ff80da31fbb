<?php

declare(strict_types=1);

namespace Fervo\Runner\Tests;

use Fervo\Runner\BatchReader;
use Fervo\Runner\Job;
use PHPUnit\Framework\TestCase;

final class BatchReaderTest extends TestCase
{
    /** @var array<string, mixed> */
    private array $before;

    protected function setUp(): void
    {
        $this->before = $_SERVER;
    }

    protected function tearDown(): void
    {
        $_SERVER = $this->before;
    }

    public function testAJobWithAllThatIsToldOfIt(): void
    {
        $line = '{"id":"7","queue":"mail","attempt":2,"repeat":true,"max_attempts":5,"enqueued_at":1700000000000,"timeout_ms":60000,"traceparent":"00-a-b-01","tracestate":"a=b","bytes":3}';

        self::assertEquals(new Job('7', 'mail', "\x1e\n\0", 2, 5, true, 1700000000000, '00-a-b-01', 'a=b', 60000), self::reader("$line\n\x1e\n\0\n")->next());
    }

    public function testAMessageWithHeaders(): void
    {
        $job = self::reader('{"id":"7","format":"messenger","headers":{"type":"App\\\\Mail","X-Message-Stamp":"[]","odd":7},"bytes":2}'."\nhi\n")->next();

        self::assertSame(['messenger', ['type' => 'App\Mail', 'X-Message-Stamp' => '[]']], [$job->format, $job->headers]);
        self::assertSame([], preg_grep('/Mail/', array_filter($_SERVER, 'is_string')), 'no header becomes a param');
    }

    /** As of a job that came alone, and nothing of the one before. */
    public function testTheParamsAreThoseOfTheJob(): void
    {
        $reader = self::reader('{"id":7,"queue":"mail","repeat":true,"timeout_ms":60000,"traceparent":"t","later":{},"bytes":0}'."\n\n".'{"id":"8","repeat":false,"attempt":2,"bytes":2}'."\nhi\n");
        $reader->next();
        self::assertSame(['7', 'mail', '1', 't'], [$_SERVER['FERVO_JOB_ID'], $_SERVER['FERVO_QUEUE'], $_SERVER['FERVO_REPEAT'], $_SERVER['HTTP_TRACEPARENT']]);
        self::assertEqualsWithDelta(microtime(true) * 1000 + 60000, (float) $_SERVER['FERVO_DEADLINE'], 30000);

        self::assertEquals(new Job('8', '', 'hi', 2), $reader->next());
        self::assertSame(['8', '2'], [$_SERVER['FERVO_JOB_ID'], $_SERVER['FERVO_ATTEMPT']]);
        self::assertSame([], array_intersect(['FERVO_QUEUE', 'FERVO_REPEAT', 'FERVO_DEADLINE', 'HTTP_TRACEPARENT'], array_keys($_SERVER)));
    }

    /** @dataProvider bad */
    #[\PHPUnit\Framework\Attributes\DataProvider('bad')]
    public function testWhatIsNoBatch(string $bytes, string $error): void
    {
        $this->expectException(\UnexpectedValueException::class);
        $this->expectExceptionMessage($error);
        self::reader($bytes)->next();
    }

    /** @return iterable<string, array{string, string}> */
    public static function bad(): iterable
    {
        yield 'nothing' => ['', 'where a job should begin'];
        yield 'no JSON' => ["hi\n", 'where a job should begin'];
        yield 'no facts' => ["7\n", 'where a job should begin'];
        yield 'no length' => ["{\"id\":\"7\"}\nhi\n", 'where a job should begin'];
        yield 'a byte too few' => ["{\"id\":\"7\",\"bytes\":3}\nhi\n", 'job "7" in the batch does not have the 3 bytes'];
        yield 'no end of line' => ["{\"id\":\"7\",\"bytes\":2}\nhi", 'job "7" in the batch'];
        yield 'a byte too many' => ["{\"id\":\"7\",\"bytes\":1}\nhi\n", 'job "7" in the batch'];
    }

    private static function reader(string $bytes): BatchReader
    {
        $stream = fopen('php://memory', 'w+') ?: throw new \RuntimeException();
        fwrite($stream, $bytes);
        rewind($stream);

        return new BatchReader($stream);
    }
}

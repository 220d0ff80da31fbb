<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use PHPUnit\Framework\TestCase;

/** The first deferred event of an application, in a console and a worker's process of their own. */
final class TryCommandTest extends TestCase
{
    /**
     * @dataProvider settings
     *
     * @param array<string, mixed> $settings
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('settings')]
    public function testItDefersAnEventThatSaysThatItHasRun(array $settings): void
    {
        $queue = Queue::create();
        $config = ['backend' => ['type' => 'sqlite', 'path' => $queue]] + $settings;

        [$code, $stderr] = $this->console($config, ['fervo:try', '--queue', 'first']);
        self::assertSame([0, ''], [$code, $stderr]);

        [$job] = Queue::rows($queue);
        self::assertSame('first', $job['queue']);
        [$code, $stderr] = $this->console($config, ['fervo:deferred-event:dispatch', '--', $job['payload']], ['FERVO_JOB_ID' => '7']);
        self::assertSame(0, $code, $stderr);
        self::assertStringContainsString('fervo:try: an event that was deferred on '.gethostname().' has run, as job 7', $stderr);
    }

    /** @return iterable<string, array{array<string, mixed>}> */
    public static function settings(): iterable
    {
        yield 'at once' => [[]];
        yield 'when the command ends' => [['send' => 'on_terminate']];
        yield 'with a list of classes' => [['allowed_classes' => [OrderPlaced::class]]];
    }

    public function testWithoutAQueueItRunsAtOnce(): void
    {
        [$code, $stderr] = $this->console([], ['fervo:try']);

        self::assertSame(0, $code, $stderr);
        self::assertStringContainsString(' has run, without a worker', $stderr);
    }

    /**
     * @param array<string, mixed>  $config
     * @param list<string>          $arguments
     * @param array<string, string> $environment
     *
     * @return array{int, string} exit code, STDERR
     */
    private function console(array $config, array $arguments, array $environment = []): array
    {
        $folder = Folder::create();
        $process = proc_open(
            [\PHP_BINARY, \dirname(__DIR__).'/Fixtures/console.php', ...$arguments],
            [['file', '/dev/null', 'r'], ['file', '/dev/null', 'w'], ['file', $folder.'/stderr', 'w']],
            $pipes,
            null,
            ['FERVO_TEST_FOLDER' => $folder, 'FERVO_TEST_CONFIG' => json_encode($config, \JSON_FORCE_OBJECT)] + $environment + getenv(),
        );
        self::assertIsResource($process);
        $code = proc_close($process);

        return [$code, (string) file_get_contents($folder.'/stderr')];
    }
}

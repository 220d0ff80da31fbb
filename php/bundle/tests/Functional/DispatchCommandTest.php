<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Payload\PayloadCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Serializer\PhpEventSerializer;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\Recorder;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use PHPUnit\Framework\TestCase;
use Symfony\Component\DependencyInjection\ServiceLocator;

/** A process for each event, as fervo-worker's process executor starts it. */
final class DispatchCommandTest extends TestCase
{
    /** @dataProvider outcomes */
    #[\PHPUnit\Framework\Attributes\DataProvider('outcomes')]
    public function testExitCodes(string $text, int $exitCode, string $stderr): void
    {
        $folder = Folder::create();

        [$code, $errors] = $this->dispatch($folder, ['-'], self::payload($text));

        self::assertSame($exitCode, $code, $errors);
        self::assertStringContainsString($stderr, $errors);
        self::assertSame(["foo.action $text 0"], Recorder::read($folder.'/recorded'));
    }

    /** @return iterable<string, array{string, int, string}> */
    public static function outcomes(): iterable
    {
        yield 'ack' => ['hello', 0, ''];
        yield 'retry' => ['throw', 1, 'retry: RuntimeException: bad X-Evil: 1'];
        yield 'exit' => ['exit', 1, ''];
        yield 'bury' => ['bury', 100, 'bury: '];
    }

    public function testThePayloadAsAnArgument(): void
    {
        $folder = Folder::create();

        self::assertSame(0, $this->dispatch($folder, ['--', self::payload('argument')], '')[0]);
        self::assertSame(['foo.action argument 0'], Recorder::read($folder.'/recorded'));
    }

    public function testABadSignatureIsBuried(): void
    {
        self::assertSame(100, $this->dispatch(Folder::create(), ['-'], 'forged')[0]);
    }

    private static function payload(string $text): string
    {
        $php = new PhpEventSerializer();

        return (new PayloadCodec(new Signer('s3cret'), new ServiceLocator(['php' => static fn () => $php]), 'php'))->encode('foo.action', new FooActionEvent($text));
    }

    /**
     * @param list<string> $arguments
     *
     * @return array{int, string} exit code, STDERR
     */
    private function dispatch(string $folder, array $arguments, string $stdin): array
    {
        file_put_contents($folder.'/stdin', $stdin);
        $process = proc_open(
            [\PHP_BINARY, \dirname(__DIR__).'/Fixtures/console.php', 'fervo:deferred-event:dispatch', ...$arguments],
            [['file', $folder.'/stdin', 'r'], ['file', '/dev/null', 'w'], ['file', $folder.'/stderr', 'w']],
            $pipes,
            null,
            ['FERVO_TEST_FOLDER' => $folder, 'FERVO_TEST_CONFIG' => '{"send":"on_terminate"}'] + getenv(),
        );
        $code = proc_close($process);

        return [$code, file_get_contents($folder.'/stderr')];
    }
}

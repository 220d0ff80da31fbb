<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Fervo\DeferredEventBundle\Messenger\FervoTransportFactory;
use Fervo\DeferredEventBundle\Messenger\MessageCodec;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeBackend;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeLogger;
use PHPUnit\Framework\TestCase;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;

final class FervoTransportFactoryTest extends TestCase
{
    public function testIsForItsOwnSchemeOnly(): void
    {
        $factory = $this->factory();

        self::assertTrue($factory->supports('fervo://default', []));
        self::assertFalse($factory->supports('fervor://default', []));
        self::assertFalse($factory->supports('redis://localhost/fervo://', []));
    }

    /**
     * @param array<string, mixed>       $options
     * @param array{?string, ?int, ?int} $expected queue, attempts, priority
     *
     * @dataProvider dsns
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('dsns')]
    public function testReadsADsnAndItsOptions(string $dsn, array $options, array $expected): void
    {
        $read = FervoTransportFactory::read($dsn, $options, 'It');

        self::assertSame($expected, [$read->queue, $read->attempts, $read->priority]);
    }

    /** @return iterable<string, array{string, array<string, mixed>, array{?string, ?int, ?int}}> */
    public static function dsns(): iterable
    {
        yield 'a queue' => ['fervo://Mail_2.high-x', [], ['Mail_2.high-x', null, null]];
        yield 'a colon is no port' => ['fervo://shop:mail', [], ['shop:mail', null, null]];
        yield 'no queue' => ['fervo://', [], [null, null, null]];
        yield 'options in the DSN' => ['fervo://mail?attempts=3&priority=-5', [], ['mail', 3, -5]];
        yield 'options beside it' => ['fervo://mail', ['attempts' => 3, 'priority' => '5'], ['mail', 3, 5]];
        yield 'the DSN goes first' => ['fervo://?attempts=3', ['attempts' => 4, 'priority' => 5], [null, 3, 5]];
    }

    /**
     * @param array<string, mixed> $options
     *
     * @dataProvider wrongDsns
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('wrongDsns')]
    public function testRefuses(string $dsn, array $options, string $message): void
    {
        $this->expectException(InvalidOptionException::class);
        $this->expectExceptionMessage($message);

        $this->factory()->createTransport($dsn, $options + ['transport_name' => 'async'], new PhpSerializer());
    }

    /** @return iterable<string, array{string, array<string, mixed>, string}> */
    public static function wrongDsns(): iterable
    {
        yield 'a misspelt option' => ['fervo://mail?attemps=3', [], 'The transport "async" has the option "attemps"; fervo:// knows attempts, priority.'];
        yield 'one of another transport' => ['fervo://mail', ['queue_name' => 'x'], 'The transport "async" has the option "queue_name"; fervo:// knows attempts, priority.'];
        yield 'no number' => ['fervo://mail?attempts=many', [], 'has the option "attempts" with "many"; it takes a whole number.'];
        yield 'a list' => ['fervo://mail?attempts[]=3', [], 'has the option "attempts" with array; it takes a whole number.'];
        yield 'no attempts' => ['fervo://mail?attempts=0', [], 'The transport "async": The number of attempts is 0'];
        yield 'a bad queue' => ['fervo://a b', [], 'The transport "async": The queue "a b" is not valid'];
        yield 'a path' => ['fervo://localhost/mail', [], 'has a DSN that is not valid: expected fervo://QUEUE'];
        yield 'a user' => ['fervo://u:hunter2@mail', [], 'has a DSN that is not valid: expected fervo://QUEUE'];
    }

    public function testATransportWithoutANameIsRefused(): void
    {
        $this->expectExceptionMessage('has to have a name');

        $this->factory()->createTransport('fervo://mail', [], new PhpSerializer());
    }

    private function factory(): FervoTransportFactory
    {
        $backend = new FakeBackend();
        $outbox = new Outbox($backend, SendMode::Immediately, static fn (): FakeLogger => new FakeLogger());

        return new FervoTransportFactory(new MessageCodec(new Signer('s3cret', [], Signer::MESSAGE)), $outbox, $backend, new DeferOptions());
    }
}

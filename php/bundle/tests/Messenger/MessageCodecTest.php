<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Fervo\DeferredEventBundle\Messenger\EncodedMessage;
use Fervo\DeferredEventBundle\Messenger\MessageCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use PHPUnit\Framework\TestCase;

final class MessageCodecTest extends TestCase
{
    public function testAPayloadIsSignedTextAsDocumented(): void
    {
        $payload = $this->codec()->encode(new EncodedMessage('App\Message\Foo', 'async', ['body' => '{"id":7}', 'headers' => ['type' => 'App\Message\Foo']]));

        [$line, $body] = explode("\n", $payload, 2);
        $key = hash_hkdf('sha256', 's3cret', 32, 'fervo/deferred-event-bundle message signature 1');
        self::assertSame('fervo-message/1 '.substr(hash('sha256', $key), 0, 8).' '.hash_hmac('sha256', $body, $key), $line);
        self::assertSame('{"message":"App\\\\Message\\\\Foo","transport":"async","body":"{\"id\":7}","headers":{"type":"App\\\\Message\\\\Foo"}}', $body);
        self::assertTrue(Signer::isMessage($payload));
    }

    /** @dataProvider bytes */
    #[\PHPUnit\Framework\Attributes\DataProvider('bytes')]
    public function testEveryByteTravelsInTextOfUtf8(string $bytes): void
    {
        $envelope = ['body' => $bytes, 'headers' => ['X-Any' => $bytes, 'type' => 'Foo']];
        $payload = $this->codec()->encode(new EncodedMessage('Foo', 'async', $envelope));

        self::assertSame(1, preg_match('//u', $payload));
        self::assertStringNotContainsString("\0", $payload);
        self::assertSame($envelope, $this->codec()->decode($payload)->envelope);
    }

    /** @return iterable<string, array{string}> */
    public static function bytes(): iterable
    {
        yield 'nothing' => [''];
        yield 'text' => ['Grüße, 世界 🎉'];
        yield 'no UTF-8' => ["\xff\xfe\x00\x80"];
        yield 'every byte' => [implode('', array_map(chr(...), range(0, 255)))];
        yield 'half a character' => [substr('ü', 0, 1)];
        yield 'NUL and line ends' => ["a\0b\r\n\u{2028}"];
        yield 'what serialize() makes, with slashes' => [addslashes(serialize(['a' => "\0", 'b' => [1.5, null]]))];
        yield 'what looks like a packed one' => ['{"base64":"QQ=="}'];
    }

    public function testManyQuotesAndBackslashesDoNotMakeItLonger(): void
    {
        $bytes = str_repeat('\\"', 1000);
        $payload = $this->codec()->encode(new EncodedMessage('Foo', 'async', ['body' => $bytes, 'headers' => []]));

        self::assertLessThan(1.4 * \strlen($bytes) + 200, \strlen($payload));
    }

    public function testAMessageWithoutHeaders(): void
    {
        $envelope = ['body' => 'x', 'headers' => []];

        self::assertSame($envelope, $this->codec()->decode($this->codec()->encode(new EncodedMessage('Foo', 'async', $envelope)))->envelope);
    }

    public function testHeadersThatCannotTravelAreRefusedAtOnce(): void
    {
        $this->expectException(UnserializableEventException::class);
        $this->expectExceptionMessage('Cannot send a message of the class "Foo": its headers cannot travel');

        $this->codec()->encode(new EncodedMessage('Foo', 'async', ['body' => '', 'headers' => ["\xff" => 'a']]));
    }

    /** A signature is for one kind: what was signed as an event's data is never given to Messenger's serializer, nor the other way. */
    public function testAnEventsSignatureIsNoneForAMessage(): void
    {
        $body = '{"message":"Foo","transport":"async","body":"","headers":[]}';
        $event = (new Signer('s3cret'))->sign($body);

        $this->expectException(InvalidSignatureException::class);
        // The key's id differs, too: so as a forger would do it.
        $id = substr(hash('sha256', hash_hkdf('sha256', 's3cret', 32, 'fervo/deferred-event-bundle message signature 1')), 0, 8);
        $this->codec()->decode('fervo-message/1 '.$id.substr($event, 22));
    }

    /** @dataProvider noMessages */
    #[\PHPUnit\Framework\Attributes\DataProvider('noMessages')]
    public function testRefusesWhatIsSignedAndNoMessage(string $body): void
    {
        $this->expectException(UndecodablePayloadException::class);

        $this->codec()->decode((new Signer('s3cret', [], Signer::MESSAGE))->sign($body));
    }

    /** @return iterable<string, array{string}> */
    public static function noMessages(): iterable
    {
        yield 'no JSON' => ['{'];
        yield 'a number' => ['1'];
        yield 'no transport' => ['{"message":"Foo","body":"","headers":{}}'];
        yield 'no body' => ['{"message":"Foo","transport":"async","headers":{}}'];
        yield 'no base64' => ['{"message":"Foo","transport":"async","body":{"base64":"\u00ff"},"headers":{}}'];
        yield 'no headers' => ['{"message":"Foo","transport":"async","body":"","headers":"a"}'];
    }

    private function codec(): MessageCodec
    {
        return new MessageCodec(new Signer('s3cret', [], Signer::MESSAGE));
    }
}

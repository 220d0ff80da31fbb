<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Payload;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Payload\Signer;
use PHPUnit\Framework\TestCase;

final class SignerTest extends TestCase
{
    public function testSignsWithAKeyDerivedFromTheSecretAsDocumented(): void
    {
        $key = hash_hkdf('sha256', 's3cret', 32, 'fervo/deferred-event-bundle payload signature 1');
        $expected = 'fervo-event/1 '.substr(hash('sha256', $key), 0, 8).' '.hash_hmac('sha256', "a\nb", $key)."\na\nb";

        self::assertSame($expected, (new Signer('s3cret'))->sign("a\nb"));
    }

    public function testVerifiesWhatItSigned(): void
    {
        self::assertSame("{\"x\":1}\n", (new Signer('a'))->verify((new Signer('a'))->sign("{\"x\":1}\n")));
    }

    public function testTakesAPreviousSecret(): void
    {
        $payload = (new Signer('old'))->sign('body');

        self::assertSame('body', (new Signer('new', ['older', 'old']))->verify($payload));
        self::assertNotSame($payload, (new Signer('new', ['old']))->sign('body'), 'the current secret signs');
    }

    /** @dataProvider badPayloads */
    #[\PHPUnit\Framework\Attributes\DataProvider('badPayloads')]
    public function testRefuses(string $payload, string $reason): void
    {
        $this->expectException(InvalidSignatureException::class);
        $this->expectExceptionMessageMatches($reason);

        (new Signer('s3cret'))->verify($payload);
    }

    /** @return iterable<string, array{string, string}> */
    public static function badPayloads(): iterable
    {
        $good = (new Signer('s3cret'))->sign('{"event":"a"}');
        yield 'changed body' => [str_replace('"a"', '"b"', $good), '/signature is wrong/'];
        yield 'truncated body' => [substr($good, 0, -1), '/signature is wrong/'];
        yield 'changed HMAC' => [preg_replace_callback('/ ([0-9a-f]{64})/', static fn (array $m): string => ' '.strrev($m[1]), $good), '/signature is wrong/'];
        yield 'truncated HMAC' => [preg_replace('/ ([0-9a-f]{63})[0-9a-f]\n/', " \$1\n", $good), '/no signature/'];
        yield 'no HMAC' => [preg_replace('/ [0-9a-f]{64}/', '', $good), '/no signature/'];
        yield 'no first line' => ['{"event":"a"}', '/no signature/'];
        yield 'empty' => ['', '/no signature/'];
        yield 'cut in the first line' => [substr($good, 0, 20), '/no signature/'];
        yield 'another version' => [str_replace('fervo-event/1', 'fervo-event/2', $good), '/no signature/'];
        yield 'something before it' => [' '.$good, '/no signature/'];
    }

    /** In the middle of a change of the secret it may be there in a minute. */
    public function testAnotherKeyMayNotBeDeployedYet(): void
    {
        $this->expectException(NotDeployedException::class);
        $this->expectExceptionMessage('previous_secrets');

        (new Signer('s3cret'))->verify((new Signer('other'))->sign('{"event":"a"}'));
    }

    public function testAnEmptySecretIsRefused(): void
    {
        $this->expectException(\LogicException::class);
        $this->expectExceptionMessage('APP_SECRET');

        new Signer('');
    }
}
